"""Publishing on the Hub: a finished folder becomes a version of a dataset repository and loads back unchanged.

versions       version numbers, their tags and their order
checks         what is refused before anything is sent
remote         reads a repository at one commit
parquet        reads shards; a damaged shard is one line
changes        what one commit adds and deletes
timeouts       a read timeout for every request of the client
retry          which failures are transient, and how long they are retried
client_errors  failures of the Hub and its client as one line with a remedy
push           the steps of a push, in order
model          pushes a trained model
verification   a folder or a commit against the file list in its manifest
difference     the difference between two versions
loading        loads exactly the version that is asked for
originals      joins the source's images to a dataset that was published without them
"""
