"""Read Label Studio exports into polyhead, and score written texts with BERTScore."""
