"""Where files lie: reading them, and writing them so that a name only ever holds a whole file.

What senders and receivers use of it is small and stands in ``contract``, so that another kind of
storage can take its place. A ``Folder`` is a local folder, a stream the other kind so far:

    folder.find, list, make_folder, remove, digest    one name at a time
    folder.reading()           walk, open, read       for one exchange that sends
    Staging(folder, ...)       judge, small, begin    for one exchange that receives
    Publisher(staging, ...)    makes staged items appear, in groups

Nothing in here may know the network or the protocol's frames.
"""
