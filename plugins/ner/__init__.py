"""Named entities: which stretches of a text name something, and what."""
