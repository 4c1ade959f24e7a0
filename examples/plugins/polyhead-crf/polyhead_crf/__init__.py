"""A linear-chain CRF head for the task ``ner`` of polyhead."""
