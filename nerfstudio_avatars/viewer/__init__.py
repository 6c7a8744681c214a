"""Controls that appear in nerfstudio's viewer."""
