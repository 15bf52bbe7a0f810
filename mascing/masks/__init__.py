"""The mask, its two rules, and the operations that need no model: compose, compare, print, restrict."""
