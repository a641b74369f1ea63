"""Train any timm model on an augmented dataset, mixing real and generated images while they are loaded.

On one GPU:                  accelerate launch recipes/train.py --config cub-train
On eight GPUs:               accelerate launch --num_processes 8 recipes/train.py --config cub-train
Without a GPU (4 minutes):   accelerate launch recipes/train.py --config miniature-train
To measure if mixing helps:  accelerate launch recipes/train.py --config cub-train --compare plain,mix --seeds 0,1,2

--config is a recipe file or the name of a shipped recipe. Every key is also a flag, and a flag overrides the recipe.
--help lists all keys. `accelerate launch --quiet` hides the messages of accelerate itself.
If the package is installed, `accelerate launch -m diffcore_hf.training ...` does the same without this file.
"""

import sys

from diffcore_hf.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
