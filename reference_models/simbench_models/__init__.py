"""The two models that the project is about. None is here yet: the folder holds their place."""
