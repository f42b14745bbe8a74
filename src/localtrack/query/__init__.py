"""Search: choose runs and experiments by a filter, order them, cut them into pages, hand them out as frames.

Words: a *filter* is the text that a user writes; an *expression* is what it means, typed and frozen; a *field* is one
thing that a filter can ask about; a *scope* says which fields there are (of runs, of experiments); a *relation* is an
Arrow table with a known shape that a compiled search reads; a *page* is a list of rows and the token of the next page.

The way of a search: text -> tokens -> expression -> SQL with bound parameters -> row numbers -> rows. No text of a user
ever becomes part of a statement. The layer reads rows that it is given; it opens no file of a store and writes nothing.
"""
