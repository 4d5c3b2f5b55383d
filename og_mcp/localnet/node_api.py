"""The node's REST API, as much of it as clients read: results of inferences by their id."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.faults import Faults
from og_mcp.localnet.serving import FaultGate, LoopbackOnly


def node_api_app(chain: Chain, faults: Faults | None = None) -> Starlette:
    """Build the application.

    Args:
        chain: Whose inferences it tells.
        faults: Shown under names such as `node GET /artela-network/...`.
    """

    async def inference(request: Request) -> JSONResponse:
        inference_id = request.path_params["inference_id"]
        result = await chain.in_order(chain.node_result, inference_id)
        if result is None:
            missing = {"code": 5, "message": f"inference {inference_id} not found", "details": []}
            return JSONResponse(missing, 404)
        return JSONResponse(result)

    # The ids hold slashes, and the server has unquoted them by now.
    path = "/artela-network/artela-rollkit/inference/tx/{inference_id:path}"
    return Starlette(
        routes=[Route(path, inference)],
        middleware=[
            Middleware(LoopbackOnly),
            Middleware(FaultGate, faults=faults or Faults(), service="node"),
        ],
    )
