"""Models as a stranger writes them: files of the short form, which know nothing of this project."""
