"""Every argument of the engines is a hyperparameter, or decided by the job for a reason that stands here."""

from __future__ import annotations

from typing import Any

from aiida_equitrain.common.hyperparameters import MACE, OPTIONS, complete
from aiida_equitrain.drivers.training import mace_files

EQUITRAIN_LEFT = {
    'the job names its files': 'train_file valid_file test_file output_dir',
    'another port': 'seed model model_wrapper r_max',
    'the strategy, with `freeze_layers`': 'freeze_params unfreeze_params',
    'one process on one device': 'backend jax_platform distributed launcher process_count process_index '
    'coordinator_address coordinator_port find_unused_parameters num_workers prefetch_batches pin_memory',
    "the checkpoints are the job's own": 'load_best_checkpoint_model load_last_checkpoint_model '
    'load_checkpoint_model load_best_checkpoint load_last_checkpoint load_checkpoint epochs_start '
    'keep_best_checkpoints',
    'what is shown': 'print_freq wandb_project tqdm verbose loss_monitor',
    'frames would be left out without a word': 'batch_drop train_max_steps valid_max_steps',
    '`batch_max_nodes` does it': 'batch_max_edges',
    'an error is to be small': 'plateau_mode',
    'datasets have no reactions': 'barrier_weight reaction_energy_weight',
}
MACE_LEFT = {
    'the job names its files': 'config work_dir log_dir model_dir checkpoints_dir results_dir downloads_dir test_file '
    'test_dir multi_processed_test valid_fraction statistics_file',
    'the architecture is the foundation\'s': 'r_max radial_type num_radial_basis num_cutoff_basis pair_repulsion '
    'distance_transform apply_cutoff use_last_readout_only use_embedding_readout interaction interaction_first max_ell '
    'correlation use_reduced_cg use_so3 use_agnostic_product num_interactions MLP_irreps radial_MLP hidden_irreps '
    'edge_irreps use_edge_irreps_first num_channels max_L gate atomic_numbers mean std heads foundation_head '
    'foundation_model_kwargs foundation_model_readout foundation_filter_elements les_arguments embedding_specs',
    'no charges, fields or dipoles': 'kspace_cutoff_factor atomic_multipoles_max_l atomic_multipoles_smearing_width '
    'field_feature_max_l field_feature_widths field_feature_norms num_recursion_steps field_si '
    'include_electrostatic_self_interaction add_local_electron_energy quadrupole_feature_corrections '
    'return_electrostatic_potentials field_norm_factor fixedpoint_update_config field_readout_config '
    'compute_polarizability compute_atomic_dipole dipole_weight swa_dipole_weight polarizability_weight '
    'swa_polarizability_weight dipole_key polarizability_key charges_key elec_temp_key total_spin_key '
    'total_charge_key',
    'follows from the labels': 'compute_stress compute_forces virials_key virials_weight keep_isolated_atoms '
    'config_type_weights head_key',
    'one process on one device': 'distributed launcher num_workers pin_memory save_cpu enable_cueq only_cueq '
    'enable_oeq',
    'what is shown': 'log_level plot_frequency plot_interaction_e eval_interval skip_evaluate_heads dry_run wandb '
    'wandb_dir wandb_project wandb_entity wandb_name wandb_log_hypers',
    'the job draws, labels and weighs what is replayed': 'pseudolabel_replay pseudolabel_replay_compute_stress '
    'weight_pt_head num_samples_pt subselect_pt filter_type_pt allow_random_padding_pt',
    'MACE cannot switch it off': 'amsgrad',
    'another objective at the end: the best epoch could not be told': 'swa start_swa swa_lr swa_energy_weight '
    'swa_forces_weight swa_stress_weight swa_virials_weight',
    'another optimiser, without batches': 'lbfgs',
    'another package': 'beta1_schedulefree beta2_schedulefree',
}  # fmt: skip


def names_of(parser: Any) -> set[str]:
    """Return the names of a parser's arguments."""
    return {action.dest for action in parser._actions} - {'help'}


def listed(left: dict[str, str]) -> set[str]:
    return {name for names in left.values() for name in names.split()}


def test_equitrain() -> None:
    import mace  # noqa: F401
    from equitrain import get_args_parser_train

    known = names_of(get_args_parser_train())
    assert known - set(OPTIONS) == listed(EQUITRAIN_LEFT)
    ours = {name for name, option in OPTIONS.items() if option.engines == ('equitrain',)} - {'rank_fraction'}
    assert ours <= known
    parser = get_args_parser_train().parse_args([])
    for name in ours & known - {'batch_max_nodes'}:
        default = getattr(parser, name)
        assert OPTIONS[name].default in (default, None), name


def test_mace() -> None:
    from mace.tools import build_default_arg_parser

    counts = {'train': 4, 'valid': 1, 'replay_train': 4, 'replay_valid': 1}
    values = complete({'ema': True}, 'multihead', 'mace')
    content = mace_files.config(values, 1, 1.0, counts, 30.0, multihead=True)
    written = {*content, 'lora', 'lora_rank', 'lora_alpha', 'freeze', 'restart_latest'}
    known = names_of(build_default_arg_parser())
    assert written - {'lora_alpha'} <= known
    assert known - written == listed(MACE_LEFT)
    defaults = build_default_arg_parser().parse_args(['--name', 'x'])
    assert content['lr_params_factors'] == defaults.lr_params_factors
    assert MACE['beta'].default == defaults.beta
