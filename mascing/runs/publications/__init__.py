"""What a server or a schedule takes from a channel: the mask that it holds, checked."""
