"The command in torch's deterministic mode and without dropout: what is left of chance does not depend on how many processes share a run."

import torch
from torch import nn


def without_chance():
    torch.use_deterministic_algorithms(True)
    nn.Dropout2d.forward = lambda self, images: images


if __name__ == '__main__':
    without_chance()
    from lora_da_bench.views.cli import main
    main()
