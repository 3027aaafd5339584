"""The experiment file: its tables and keys (pydantic), its cells, and the messages for what it may not say."""
