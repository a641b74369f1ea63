"""The mathematics of the method, as pure functions of arrays and texts. It loads no model and opens no file.

prompts.py, prompt_texts.py  the two prompts of Eq. 4
thresholds.py                similarities and class thresholds (Eq. 5)
ranking.py, conformal.py     ranks of classes, and bounds with a guaranteed rejection rate
references.py                the record of the real images to which a policy is fitted
policies/                    the filter policies, one file each
checks.py                    the reasons to reject an attempt
filtration.py                decisions, statuses, and which attempts are due
mixing.py                    the mix of a real and a generated image (Eq. 6 to 8)
distances.py, diversity.py   figures that compare generated with real images
description.py               these figures per class and over all classes
arrays.py                    names of array types
"""
