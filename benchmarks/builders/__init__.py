"""What writes the models of the zoo: copies from packages, exports, graphs made by hand."""
