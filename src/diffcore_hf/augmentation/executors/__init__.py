"""Executors: classes that choose the process in which a part is computed."""
