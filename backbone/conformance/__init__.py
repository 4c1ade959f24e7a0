"""The conformance kit: what a plugin must do to be trusted, checked one by one."""
