/* SPDX-License-Identifier: Apache-2.0 */
#include "e2b/last_events.h"

void last_events_add(struct last_events *l, json_t *event, size_t len)
{
	if (!l->list)
		l->list = json_array();
	size_t n = json_array_size(l->list);
	while (n > 0 && (n == LAST_EVENTS_MAX || l->bytes + len > LAST_EVENTS_BYTES_MAX)) {
		json_array_remove(l->list, 0);
		l->bytes -= l->lengths[l->first];
		l->first = (l->first + 1) % LAST_EVENTS_MAX;
		n--;
	}
	if (json_array_append_new(l->list, event) < 0)
		return;
	l->lengths[(l->first + n) % LAST_EVENTS_MAX] = (uint32_t)len;
	l->bytes += len;
}

json_t *last_events_take(struct last_events *l)
{
	json_t *list = l->list ? l->list : json_array();
	l->list = NULL;
	l->bytes = 0;
	return list;
}
