"""Train any timm model on an augmented dataset, mixing real and generated images on the fly.

One GPU:            accelerate launch recipes/train.py --config cub-train
Eight GPUs:         accelerate launch --num_processes 8 recipes/train.py --config cub-train
No GPU, 4 minutes:  accelerate launch recipes/train.py --config miniature-train
Did it help?        accelerate launch recipes/train.py --config cub-train --compare plain,genaug,mix --seeds 0,1,2

--config is a recipe file or the name of a shipped one; every key of it is a flag, which wins; --help shows them all.
`accelerate launch --quiet` leaves out what accelerate itself has to say, also behind an error.
Without this file, where the package is installed: accelerate launch -m diffcore_hf.training ...
"""

import sys

from diffcore_hf.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
