"""The tests of localtrack, in folders by the question that they answer."""
