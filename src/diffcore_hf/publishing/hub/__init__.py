"""Publishing on the Hub: a finished folder becomes a version of a dataset repository and loads back unchanged.

versions       version numbers, their tags and their order
checks         checks a folder and a repository before anything is sent
remote         reads a repository at one commit
parquet        reads shards; a damaged shard gives an error of one line
changes        computes which files one commit adds and deletes
timeouts       sets a read timeout for every request of the client
retry          decides which failures are transient and how long a step is retried
client_errors  turns failures of the Hub and its client into one line with a remedy
push           does the steps of a push in order
model          pushes a trained model
verification   compares a folder or a commit with the file list in its manifest
difference     computes the difference between two versions
loading        loads exactly the requested version
originals      adds the source's images to a dataset that was published without them
"""
