"""The Hub: a finished folder becomes a version of a dataset repository, and comes back as it was.

versions      names of versions, and which there are
checks        what is refused before anything is sent
refusal       what we say no to, as an error
remote        what a repository holds at a commit
changes       what one commit adds and deletes
patience      which faults are waited out, and how long
push          the order of it all
verification  a folder or a version against its own list
difference    two versions against each other
loading       a version loaded, and never another one in its place
originals     images of the source put back by their hashes
"""
