"""Readable random names for runs that are given none: `quiet-otter-417`.

A name need not be unique, the run id is. The random bits come from the operating system: a program that seeds
`random` gets other names each time all the same, and its own sequence is left alone.
"""

from __future__ import annotations

import os
from typing import Final

_ADJECTIVES: Final = """
    able agile airy alert amber ample apt aqua arctic azure balmy bold brave breezy bright brisk calm candid careful
    cheery clear clever coastal cool copper cosmic cozy crisp curious dapper daring deft dewy eager early earnest easy
    elegant even fabled fair fancy fast fine firm fleet fond free fresh frosty gentle gilded glad golden graceful
    grand green happy hardy hearty honest humble indigo ivory jade jolly jovial keen kind lively loyal lucid lunar
    mellow merry mild misty modest neat nimble noble patient placid polite prompt proud quick quiet rapid ready robust
    rosy rustic serene sharp silver sleek smooth snowy sober solar solid spry steady sturdy subtle sunny swift tidy
    tranquil true upbeat vivid warm wise witty
"""
_NOUNS: Final = """
    acorn alder alpaca anchor apple aspen aster badger bamboo banyan basil bay beacon beech birch bison bobcat brook
    canyon cedar cheetah cherry cliff clover cloud comet compass condor coral cove coyote crane creek cricket crow
    cypress daisy dale deer delta dolphin dove dune eagle elk elm ember falcon fern ferret field finch fir fjord flint
    forest fox gazelle gecko ginkgo glacier glade grove gull harbor hare hawk hazel heath heron hill holly ibex ibis
    iris island ivy jackal jaguar jasmine jay juniper kelp kestrel kite kiwi koala lagoon lake lantern larch lark
    laurel lemur lily linden llama lotus lynx magnolia magpie mango maple marmot marsh martin meadow merlin mesa
    meteor mint moose moss newt nutmeg oak oasis ocean olive orca orchid oriole osprey otter owl palm panda panther
    parrot peak pebble pelican penguin pine planet plover plum pond poplar prairie puffin quail quartz rabbit raccoon
    rain raven reef ridge river robin sage salmon seal sequoia sparrow spruce star stork stream summit swallow swan
    tern thistle thrush tiger toucan trout tulip tundra turtle valley violet walnut walrus willow wombat wren yak
    zebra
"""
ADJECTIVES: Final = tuple(_ADJECTIVES.split())
NOUNS: Final = tuple(_NOUNS.split())
MAX_NUMBER: Final = 999


def random_run_name() -> str:
    """Return a new random name: an adjective, a noun and a number, in lower-case ASCII."""
    number, noun = divmod(int.from_bytes(os.urandom(8), "little"), len(NOUNS))
    rest, adjective = divmod(number, len(ADJECTIVES))
    return f"{ADJECTIVES[adjective]}-{NOUNS[noun]}-{rest % MAX_NUMBER + 1}"
