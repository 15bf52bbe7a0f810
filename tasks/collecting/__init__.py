"""The stages of a collection: conversations taken in part by part, and their traces."""
