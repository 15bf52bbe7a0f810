"""What a chat template does with a conversation: its final turn, turns left out, a reply's place, ends of turn."""
