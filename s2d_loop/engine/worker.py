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

        On CPUs vLLM computes with packed copies of the weights.  An output head that shares its
        weights with the embedding has no weights of its own in the checkpoint, so vLLM's reload
        leaves its packed copy as it was: the engine would answer with the new body and the old head.
        """
        self.reload_weights(weights_path=path)
        for module in self.model_runner.get_model().modules():
            if hasattr(module, "cpu_linear") and type(module).__name__ == "ParallelLMHead":
                module.quant_method.process_weights_after_loading(module)
