"""The index: what the runs of a store come to, kept so that a search need not read them. FORMAT.md appendix A.

Words: a *home* is the folder where an index lies: in the store, in the user's cache folder, or in memory; a *segment*
is a set of files with many runs in columns and whole, written once; a run is *settled* when nobody appends to it;
the *overlay* is the runs that this process has read itself because no segment has them as they are; the *manifest* says
which segments there are, and up to where they cover the inbox; *compaction* writes what is settled to a segment.

Nothing here is the truth. An index that is missing, damaged, of another version or no longer to be trusted is made anew
from the runs; no answer may depend on whether there is one.
"""
