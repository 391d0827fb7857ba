"""What writes the models of the zoo: copies from packages, exports by torch, graphs made by hand."""
