"""All routes of the native API. The bodies are the model's own types as JSON."""

from __future__ import annotations

from typing import Final

from litestar import Router

from placer.api.native import (
    actions,
    definitions,
    destinations,
    events,
    hosts,
    instances,
    pools,
    quotas,
    requests,
    server_groups,
    services,
    versions,
    vocabulary,
    webhooks,
)
from placer.http import strict_body

ROUTES: Final = (
    versions.show_root,
    versions.show_versions,
    requests.create_request,
    requests.list_requests,
    requests.show_request,
    requests.cancel_request,
    destinations.select_destinations,
    hosts.list_hosts,
    hosts.show_host,
    hosts.order_host,
    instances.list_instances,
    instances.show_instance,
    actions.act_on_instance,
    actions.show_instance_log,
    events.list_events,
    webhooks.list_webhooks,
    webhooks.create_webhook,
    webhooks.show_webhook,
    webhooks.delete_webhook,
    webhooks.list_dead_letters,
    definitions.list_flavors,
    definitions.show_flavor,
    definitions.put_flavor,
    definitions.delete_flavor,
    definitions.list_images,
    definitions.show_image,
    definitions.put_image,
    definitions.delete_image,
    server_groups.list_server_groups,
    server_groups.show_server_group,
    server_groups.create_server_group,
    server_groups.delete_server_group,
    pools.list_pools,
    pools.put_pool,
    pools.list_networks,
    pools.put_network,
    quotas.list_quotas,
    quotas.show_quota,
    quotas.put_quota,
    quotas.delete_quota,
    services.list_services,
    services.show_diagnosis,
    services.show_agent_diagnosis,
    vocabulary.list_resource_classes,
    vocabulary.list_traits,
)


def router() -> Router:
    """The routes, with every body read strictly."""
    return Router(path="/", route_handlers=list(ROUTES), before_request=strict_body)
