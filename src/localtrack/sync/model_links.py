"""Which logged models a run has to do with: they are made on the target before its points, which name them."""

from __future__ import annotations

from localtrack.format.run_fold import RunState
from localtrack.sync.context import PushContext
from localtrack.sync.distinct import to_target_value, value_bits
from localtrack.sync.model_push import ensure_model
from localtrack.sync.translation import Loss


def ensure_models_of_run(
    context: PushContext, state: RunState
) -> tuple[dict[tuple[str, int, int, int], dict[str, str]], list[Loss]]:
    """Make known on the target the models that a run made, read or measured.

    Returns:
        Which points belong to a model, too, as `Batch.links` has it; what of that the target cannot have.
    """
    links: dict[tuple[str, int, int, int], dict[str, str]] = {}
    losses: list[Loss] = []
    if not context.limits.has_models:
        return links, losses
    models = context.source.models
    if not (models and (state.model_inputs or state.run_id in context.source.models_of_runs)):
        return links, losses
    own = context.source.models_of_runs.get(state.run_id, [])
    for model in [*own, *(models[model_id] for model_id in state.model_inputs if model_id in models)]:
        if model.experiment_id not in context.experiments:
            what = f"It uses the logged model {model.model_id} of an experiment that is not pushed."
            losses.append(Loss(state.run_id, "not_settable", what))
            continue
        remote_id = ensure_model(context, model)
        for metric in model.metrics:
            if metric.run_id != state.run_id:
                continue
            value = value_bits(to_target_value(metric.value))
            link = {"model_id": remote_id}
            if metric.dataset is not None:
                link["dataset_name"], link["dataset_digest"] = metric.dataset
            links.setdefault((metric.key, metric.timestamp_ms, metric.step, value), link)
    return links, losses
