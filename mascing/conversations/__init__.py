"""Conversations: file formats, chat template and final turn, splits, matching, changed conditions."""
