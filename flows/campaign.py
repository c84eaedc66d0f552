"""Open a campaign: register the library, draw the audit set, design round 0, release it to the lab."""

import anndata
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.forms import CampaignName
from flows.registry import find_campaign
from flows.results import Opened
from tasks.batches.task import check_batch, design_files, initial_design
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.designs import OPENING, release, round_folder, stored_table
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.library import read_library
from tasks.campaigns.reading import read_config
from tasks.errors import UserError
from tasks.readouts.alignment import ALIGNMENTS, SAMPLE_BASED
from tasks.readouts.alignment.profiles import PROFILE_ALIGNMENTS
from tasks.readouts.formats import AUTO, FORMATS
from tasks.stopping.rules import check_stopping


@flow(name="open", persist_result=False, validate_parameters=False)
def open_campaign(campaign: CampaignName) -> Opened:
    """Open a campaign. Opening it again changes nothing.

    Args:
        campaign: Name of a registered campaign, or the path of its YAML file.
    """
    config = checked_config(find_campaign(campaign))
    library = load_library(config)
    design = draw_design(library, config)
    return register(config, library, design)


def checked_config(config_path: str) -> CampaignConfig:
    """Read a configuration and check that every name in it is known.

    Raises:
        UserError: On a mistake in the file, or a name that no room knows.
    """
    config = read_config(config_path)
    forms, methods = ("one number a well", {*ALIGNMENTS, *SAMPLE_BASED})
    if config.readout.output is not None:
        forms, methods = "several features", set(PROFILE_ALIGNMENTS)
    known: list[tuple[str, str, list[str]]] = [
        ("readout.format", config.readout.format, [AUTO, *FORMATS]),
        (f"alignment.method (for {forms})", config.alignment.method, sorted(methods)),
    ]
    for key, name, names in known:
        if name not in names:
            raise UserError(
                f"{key}: unknown name", where=config_path, got=repr(name), expected=f"one of {', '.join(names)}"
            )
    check_batch(config, config_path)
    check_stopping(config, config_path)
    return config


@task(name="read library", cache_policy=NO_CACHE, persist_result=False)
def load_library(config: CampaignConfig) -> anndata.AnnData:
    """The library, checked."""
    return read_library(config.library)


@task(name="design round 0", cache_policy=NO_CACHE, persist_result=False)
def draw_design(library: anndata.AnnData, config: CampaignConfig) -> dict[str, str]:
    """Files of the initial design."""
    batch, platemap = initial_design(library.obs, config)
    return design_files(batch, platemap, config.plates)


@task(name="register campaign", cache_policy=NO_CACHE, persist_result=False)
def register(config: CampaignConfig, library: anndata.AnnData, design: dict[str, str]) -> Opened:
    """Write the library, the revision and the released design, in this order; the design makes the campaign open."""
    ledger = Ledger.of(config)
    ledger.storage.prove_create_if_absent()
    ledger.storage.make_folder("inbox")
    ledger.register_library(library)
    revision = ledger.revise(config)
    released, newly = release(ledger.storage, 0, design, OPENING)
    batch, platemap = (stored_table(ledger.storage, ref.uri) for ref in (released.batch, released.platemap))
    return Opened(
        campaign=config.campaign.name,
        location=ledger.storage.url,
        newly=newly,
        revision=revision,
        perturbations=library.n_obs,
        audit=int((batch["arm"] == "audit").sum()),
        plates=platemap["barcode"].nunique(),
        wells=int((platemap["role"] == "sample").sum()),
        design=ledger.storage.locate(f"{round_folder(0)}/design"),
    )
