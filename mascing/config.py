"""The configurations of runs and campaigns: YAML in, a frozen model or one clear error out."""

from mascing.configuring.campaign_file import campaign_file, load_campaign, read_campaign, ready_campaigns
from mascing.configuring.run_file import load_config
from mascing.configuring.yaml_file import read_yaml

__all__ = ["campaign_file", "load_campaign", "load_config", "read_campaign", "read_yaml", "ready_campaigns"]
