"""`mascing campaign`: many models, behaviours, methods and seeds from one file, with a leaderboard."""

from typing import Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption, VerboseOption, storage_option

_PAUSE_SECONDS = 300.0
"""Runs have some hundred steps each: a log tells their stages, and how far one is that takes long."""


def campaign(
    config: Annotated[
        str, typer.Argument(metavar="CAMPAIGN.yaml", help="A file, or the name of a campaign that comes with mascing.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every run and estimate the cost, and start nothing.")
    ] = False,
    storage: StorageOption = DEFAULT_STORAGE,
    verbose: VerboseOption = False,
) -> None:
    """Run models x behaviours x methods x seeds, and keep a leaderboard.

    Begins with an estimate of what is left to do. A run that fails is told with its reason, and so is a method of a
    run; the rest goes on, and the next start tries them again. Finished work is kept: started again, the campaign goes
    on where it was stopped, and nothing is generated or judged twice. Exits with 1 if something failed.

    The leaderboard is campaigns/CAMPAIGN/leaderboard.parquet under the storage URL, and index.html beside it the same
    to look at; both are written anew after every run. mascing-table and steermoe-table are campaigns that come with
    mascing: those of the two papers.

    Without a terminal it prints a line for the beginning and the end of each stage, and for what it learned, and every
    five minutes how far a stage is; with --verbose more often.

    Examples:

      mascing campaign campaign.yaml --dry-run

      mascing campaign campaign.yaml --storage s3://bucket/mascing

      mascing campaign steermoe-table --dry-run
    """
    from rich.console import Console

    from mascing.campaigns.folder import CampaignFolder
    from mascing.commands.campaigning.plan_shown import print_plan
    from mascing.commands.campaigning.results_shown import print_results
    from mascing.commands.line import run_shown, say_prose
    from mascing.config import load_campaign, read_campaign
    from mascing.flows.starting import Line
    from mascing.storage.object_storage import Storage

    console, start = Console(), f"mascing campaign {config}{storage_option(storage)}"
    if dry_run:
        loaded, mistakes = read_campaign(config)
        problems = print_plan(console, Storage.open_to_read(storage), loaded)
        for mistake in mistakes:
            say_prose(console, f"not in this plan: {mistake}")
        say_prose(console, f"next: {_after_plan(problems, len(loaded.runs), bool(mistakes), start)}")
        raise typer.Exit(1 if problems or mistakes else 0)
    loaded = load_campaign(config)
    opened = Storage.open(storage)
    print_plan(console, opened, loaded)

    def flow() -> str:
        from mascing.flows.campaign import campaign as run_campaign

        return str(run_campaign(config, opened.url))

    def finished() -> str:
        from mascing.flows.campaign_found import finished_campaign

        return finished_campaign(loaded, opened.url)

    console, name = run_shown(opened, Line(flow, finished), verbose, 0.0 if verbose else _PAUSE_SECONDS)
    if print_results(console, opened, CampaignFolder(name), start):
        raise typer.Exit(1)


def _after_plan(problems: int, runs: int, mistaken: bool, start: str) -> str:
    if mistaken:
        return f"mend what is not in this plan, as it says, in the file or a copy of it; nothing starts before: {start}"
    if problems == runs:
        return f"mend the problems above, as they say; no run can work before: {start}"
    return f"mend the problems above, or go on without these {problems} runs: {start}" if problems else start
