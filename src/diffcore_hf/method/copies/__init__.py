"""Copies: finds images that show the same picture, although they were cropped, mirrored, recoloured or scaled.

    prints.py        the small maps of an image that are compared
    windows.py       the parts of an image that a crop may show
    nomination.py    perceptual hashes, and the images whose hashes are closest
    registration.py  the score of a pair of images, by correlation over shifts, scales and the mirror

A nomination is fast and selects a few images. The registration of these images decides.
"""
