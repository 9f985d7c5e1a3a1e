"""From a frozen teacher back to images it recognises: generator, objectives, recovery."""
