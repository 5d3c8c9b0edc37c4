"""`nf`: normalizing flows on images, from a shell.

CONTRIBUTING.md draws the rooms of this package and the arrows between them; every room's first lines say what it holds.
"""

__version__ = "0.1.0"
