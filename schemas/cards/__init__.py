"""What is told of one thing: a mask, a surrogate, a search, an audit."""
