/* SPDX-License-Identifier: Apache-2.0 */
/* A machine whose state is kept while it runs, or continued. */
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "codec/sha256.h"
#include "net/wire.h"
#include "supervisor/machine.h"

#define ENTROPY_BYTES 64u

int machine_freeze(struct machine *m, bool syncs, int64_t deadline_ns,
		   char ret_nonce_sha256[DIGEST_HEX_SIZE], int64_t *ret_since_ns,
		   struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_DONE(strbuf) reply = { 0 };
	uint8_t nonce[NONCE_BYTES];
	struct mvm_digest digest;
	uint64_t took_ns = 0;
	int64_t began_ns = clock_now_ns();
	wire_put_u64(&args, FIELD_SYNC, syncs);
	int r = agent_client_call(&m->agent, m->loop, CALL_FREEZE, "freezing the guest", &args,
				  &m->ended, deadline_ns, &reply, err);
	if (r == 0)
		r = machine_take_nonce(&reply, nonce, err);
	if (r < 0)
		return r;
	sha256_buf(nonce, sizeof(nonce), &digest);
	digest_hex(&digest, ret_nonce_sha256);
	/* the agent gets ready while its processes still run */
	*ret_since_ns = began_ns;
	int64_t now_ns = clock_now_ns();
	if (wire_find_u64(reply.data, reply.len, FIELD_TIME_NS, INT64_MAX, &took_ns) &&
	    (int64_t)took_ns < now_ns - began_ns)
		*ret_since_ns = now_ns - (int64_t)took_ns;
	return 0;
}

int machine_thaw(struct machine *m, bool was_away, int64_t deadline_ns,
		 uint8_t ret_nonce[NONCE_BYTES], struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_DONE(strbuf) reply = { 0 };
	uint8_t entropy[ENTROPY_BYTES];
	if (was_away) {
		random_bytes(entropy, sizeof(entropy));
		wire_put_bytes(&args, FIELD_ENTROPY, entropy, sizeof(entropy));
		explicit_bzero(entropy, sizeof(entropy));
		wire_put_u64(&args, FIELD_TIME_NS, (uint64_t)clock_wall_ns());
		wire_put_u64(&args, FIELD_SEVER, 1);
	}
	int r = agent_client_call(&m->agent, m->loop, CALL_THAW, "thawing the guest", &args,
				  &m->ended, deadline_ns, &reply, err);
	return r < 0 || !ret_nonce ? r : machine_take_nonce(&reply, ret_nonce, err);
}

int machine_continue(struct machine *m, int64_t deadline_ns, uint8_t ret_nonce[NONCE_BYTES],
		     struct mvm_error *err)
{
	int r = machine_thaw(m, true, deadline_ns, ret_nonce, err);
	if (r == 0)
		machine_stage(m, "agent", clock_now_ns());
	return r;
}
