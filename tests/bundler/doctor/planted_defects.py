"""Every planted defect: (finding, function of (good files, folder) that gives a broken file)."""

import planted_adapters
import planted_containers
import planted_models
import planted_tokenizers

MODULES = (planted_containers, planted_tokenizers, planted_models, planted_adapters)  # each adds its own to PLANTED
PLANTED = planted_containers.PLANTED
