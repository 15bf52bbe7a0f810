"""The commands of `mascing`, one file each. Heavy modules are imported when a command runs, never to show its help."""
