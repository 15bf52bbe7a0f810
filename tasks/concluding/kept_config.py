"""Keep the configuration of a run or audit in its folder, as a file that runs it again."""

import yaml

from mascing.runs.run_folder import RunFolder
from mascing.schemas.config import RunConfig
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import seal_text


def keep_config(storage: Storage, folder: RunFolder, config: RunConfig) -> None:
    """Write `run.yaml`; it has every setting, defaults included."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    storage.overwrite(folder.config, seal_text(text, ".yaml"))
