"""The tool loop: the model asks for tools, they run, and the model reads what they returned."""
