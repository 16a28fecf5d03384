"""The foundation potentials that we know: what they are, what they are worth before any label, how to get one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from .names import Family, Strategy
from .strategies import FAMILIES
from .validation import enumerate_names

#: The elements of the Materials Project's trajectories, which all of these were trained on or keep to: to bismuth, and
#: from actinium to plutonium.
ELEMENTS = (
    'H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb '
    'Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au '
    'Hg Tl Pb Bi Ac Th Pa U Np Pu'
)

#: Learning rates for Nequix. With the default one, 0.01, the first steps lead away from what a good foundation knows:
#: see the README of the benchmarks. Where forces begin farther from DFT, larger steps get there sooner.
LR_NEAR, LR_FAR = 1e-4, 3e-4
_NEQUIX = 'https://github.com/atomicarchitects/nequix/raw/9c852a9c4cce69ae5e75bc5a2cf670be21ff8c28/models'


@dataclass(frozen=True)
class Foundation:
    """A foundation potential.

    :param family: architecture family.
    :param title: as its publisher writes it.
    :param trained_on: data sets, by their usual names.
    :param functional: of these.
    :param licence: of the weights.
    :param sha256: of the file.
    :param url: where it is fetched from; empty where it comes with a package.
    :param get: the command that gets it, with an environment that runs it.
    :param restricted: whether the licence forbids some uses, so that it is never taken unasked.
    :param zero_label_thz: error of its phonons before any label, mean absolute over the Brillouin zone, by crystal.
    :param finetune: hyperparameters by strategy, where those of the strategy are not right for it.
    """

    family: str
    title: str
    trained_on: str
    functional: str
    licence: str
    sha256: str
    url: str
    get: str
    restricted: bool = False
    zero_label_thz: dict[str, float] = field(default_factory=dict)
    finetune: dict[str, dict[str, Any]] = field(default_factory=dict)
    elements: str = ELEMENTS

    @property
    def card(self) -> dict[str, Any]:
        """What a node of it says about itself."""
        number = len(self.elements.split())
        return {
            'name': self.title,
            'description': f'Foundation potential for {number} elements, trained on {self.trained_on}.',
            'functional': self.functional,
            'licence': self.licence,
            'starter': False,
            **({'url': self.url} if self.url else {}),
            **({'finetune': self.finetune} if self.finetune else {}),
        }

    def may_be_default(self, strategies: Collection[str] = (), engine: str | None = None) -> bool:
        """Tell whether it may be taken unasked: its worth is known, its licence free, and it can be trained.

        :param strategies: that it has to have beside the default one.
        :param engine: that has to run these.
        """
        engines = FAMILIES[self.family].engines
        trains = all(
            strategy in engines and engine in (None, *engines[strategy])
            for strategy in (*strategies, *(() if engine else (Strategy.L2_TSP.value,)))
        )
        return bool(self.zero_label_thz) and not self.restricted and trains


def _nequix(
    name: str,
    sha256: str,
    trained_on: str,
    functional: str = 'PBE+U',
    file: str = '',
    zero_label_thz: dict[str, float] | None = None,
    lr: float = LR_NEAR,
) -> Foundation:
    """Return a foundation of Nequix's publisher, whose names are those of the files unless ``file`` says otherwise.

    :param lr: learning rate of every strategy. The energy and the stress weigh a tenth of what they do by default.
    """
    return Foundation(
        Family.NEQUIX.value,
        name,
        trained_on,
        functional,
        'MIT',
        sha256,
        f'{_NEQUIX}/{file or name}.nqx',
        FAMILIES[Family.NEQUIX.value].setup,
        zero_label_thz=zero_label_thz or {},
        finetune={
            strategy: {'lr': lr, 'energy_weight': 1.0, 'stress_weight': 100.0}
            for strategy in FAMILIES[Family.NEQUIX.value].engines
        },
    )


#: By the label that the set-up gives them; the better the phonons before any label, the earlier. Errors: the table of
#: `benchmarks/foundations.py`, at DFT's cell; of MACE-MP-0b3 the authors', at its own. SevenNet's weights lie in its
#: package.
FOUNDATIONS: dict[str, Foundation] = {
    'nequix-oam-1-pft': _nequix(
        'nequix-oam-1-pft',
        '4ce693d68886512aab50c84ea2400efd68163e11155f7c7babe98e695177e809',
        'OMat24, sAlex and MPtrj, then on the phonons of MDR',
        zero_label_thz={'AlN': 0.060, 'NaCl': 0.026, 'Si': 0.071},
    ),
    'nequix-mp-1': _nequix(
        'nequix-mp-1',
        '1647af8e627e1afa11e2bfadeab0797326513a521afd7dd01606a96f56783eee',
        'MPtrj',
        zero_label_thz={'AlN': 0.508, 'NaCl': 0.107, 'Si': 1.11},
        lr=LR_FAR,
    ),
    'mace-mp-0b3': Foundation(
        Family.MACE.value,
        'MACE-MP-0b3',
        'the Materials Project',
        'PBE+U',
        'MIT',
        '2f2be696351ac9e94fbe01cdfb6f017679acdbd2db7645209ef55fec9826b012',
        'https://github.com/ACEsuit/mace-mp/releases/download/mace_mp_0b3/mace-mp-0b3-medium.model',
        'aiida-equitrain setup',
        zero_label_thz={'GaAs': 0.340, 'BaTe': 0.178, 'SnSe': 0.317},
    ),
    'nequix-mp-1-pft': _nequix(
        'nequix-mp-1-pft',
        'a88aeaed71fd447572dc57af21d469207d7737b85a6dbb66f8c38156f175c5f1',
        'MPtrj, then on the phonons of MDR',
    ),
    # Nequix's own table of addresses has another spelling, under which there is no file.
    'nequix-mp-1-pft-no-cotrain': _nequix(
        'nequix-mp-1-pft-no-cotrain',
        'c191f7208e15f7caf8cc5c1202444652f301fed2f41d85f9a8080af3843ef308',
        'MPtrj, then on nothing but the phonons of MDR',
        file='nequix-mp-1-pft-nocotrain',
    ),
    'nequix-oam-1': _nequix(
        'nequix-oam-1',
        '6a43475eaeb32a7a049f36c1306d78aa1e7a17e8af37aeda7901c8fec0ca845c',
        'OMat24, sAlex and MPtrj',
    ),
    'nequix-omat-1': _nequix(
        'nequix-omat-1',
        '2d0802ae7f5915cb488c44d25649d98404a103697e6500abb40f515e003a46a6',
        'OMat24',
        'PBE+U (VASP 54)',
    ),
    'sevennet-l3i5': Foundation(
        Family.SEVENNET.value,
        'SevenNet-l3i5',
        'the Materials Project (MPtrj)',
        'PBE+U',
        'MIT since 20 June 2025, GPL-3 before',
        'a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d',
        '',
        FAMILIES[Family.SEVENNET.value].setup,
        zero_label_thz={'AlN': 0.166, 'NaCl': 0.173, 'Si': 1.03},
    ),
    'sevennet-0': Foundation(
        Family.SEVENNET.value,
        'SevenNet-0',
        'the Materials Project (MPtrj, July 2024)',
        'PBE+U',
        'MIT since 20 June 2025, GPL-3 before',
        '7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36',
        '',
        FAMILIES[Family.SEVENNET.value].setup,
        zero_label_thz={'AlN': 0.906, 'NaCl': 0.120, 'Si': 1.75},
    ),
}

#: What is taken where the environment for it is there.
BEST = next(iter(FOUNDATIONS))


def known_by_sha256(sha256: str) -> tuple[str, Foundation] | None:
    """Return the label and the foundation whose file has a SHA-256, or ``None``."""
    return next(((name, item) for name, item in FOUNDATIONS.items() if item.sha256 == sha256), None)


def foundations_with(symbols: Iterable[str]) -> list[str]:
    """Return the labels of the foundations that know all of some elements."""
    wanted = set(map(str, symbols))
    return [name for name, item in FOUNDATIONS.items() if wanted <= set(item.elements.split())]


def remedy_for(symbols: Iterable[str]) -> str:
    """Return a sentence on the foundations that know some elements, and on how to get one."""
    names = foundations_with(symbols)
    if not names:
        return (
            'No foundation that we know has been trained on all of these; a model file of yours may: '
            '`aiida-equitrain potential import FILE`.'
        )
    return (
        f'Foundations that do: {enumerate_names(names)}; `{FOUNDATIONS[names[0]].get}` gets the first, and '
        f'`--foundation {names[0]}` takes it.'
    )


def zero_label_text(errors: dict[str, float]) -> str:
    """Return the errors of phonons before any label as the end of a sentence."""
    return ', '.join(f'{value:.2g} ({crystal})' for crystal, value in errors.items()) + ' THz'
