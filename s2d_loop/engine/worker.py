"""What the engine adds to vLLM's worker: a reload in place that also renews what vLLM forgets.

vLLM imports this by name (`worker_extension_cls`) in every rank's process and mixes it into its own
worker class, whose attributes (`reload_weights`, `model_runner`) it uses.
"""

from typing import Any


class ReloadExtension:
    """Methods that `AsyncLLM.collective_rpc` can call on every rank."""

    reload_weights: Any
    model_runner: Any

    def reload_from(self, path: str) -> None:
        """Load the weights at `path` into the running model.

        On CPUs vLLM computes with packed copies of the weights, and its reload leaves two of them as they
        were: that of an output head that shares its weights with the embedding, which has none of its own in
        the checkpoint, and those of a mixture's experts.  The engine would answer with a new body and old
        parts.
        """
        self.reload_weights(weights_path=path)
        for module in self.model_runner.get_model().modules():
            if hasattr(module, "cpu_linear") and type(module).__name__ == "ParallelLMHead":
                module.quant_method.process_weights_after_loading(module)
            kernel = getattr(getattr(module, "quant_method", None), "moe_kernel", None)
            if (
                kernel is not None
                and hasattr(module, "w13_weight")
                and module.w13_weight.device.type == "cpu"
            ):
                kernel.fused_experts.process_weights_after_loading(module)
