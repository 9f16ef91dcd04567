"""Where files lie: reading them, and writing them so that a name only ever holds a whole file.

A ``Folder`` is the one kind of storage so far. What the rest of filexfer uses of it is small, so
that another kind can take its place:

    folder.stat, list, make_folder, remove, digest     one name at a time
    folder.reading()    ->  Reading: walk, open, read   for one exchange that sends
    folder.staging()    ->  Staging: judge, create ...  for one exchange that receives
    Publisher(staging)                                  makes staged items appear, in groups

Nothing in here may know the network or the protocol's frames.
"""
