"""A folder of complete objects on a disk or in a bucket, and the manifests that commit them."""
