/* What the C that assembler.py makes of PTX is written in. */
#include <fenv.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct block {
    unsigned index, blocks, threads;
    char *shared;
    struct hoard *hoard; /* what the block has of the card's memory to itself; see machine.c */
};
struct thread {
    unsigned tid;
    struct block *block;
};

#pragma GCC visibility push(default) /* the kernels find them in the driver, and in the device */
/* A thread of the block runs until it comes to one of these. */
void machine_barrier(struct thread *t);
void machine_nap(struct thread *t, unsigned ns);
void machine_glance(struct thread *t); /* it has looked at a word, perhaps in a loop that waits for it */
uint64_t machine_weak_load(struct block *b, uint64_t at, unsigned size);
void machine_weak_store(struct block *b, uint64_t at, uint64_t value, unsigned size);
void machine_strong(struct block *b, uint64_t at); /* a word is about to be reached for itself */
void machine_publish(struct block *b);             /* release: all that was stored is to be seen */
void machine_renew(struct block *b);              /* acquire: all that is kept may be old */
void machine_fault(uint64_t address) __attribute__((noreturn));
int machine_orders(const char *name);              /* count one, and say whether it is to be kept */
uint64_t machine_globaltimer(void);
uint64_t machine_clock64(void);
extern char *machine_first, *machine_last; /* the card's memory */
#pragma GCC visibility pop

static inline float f32_of(uint32_t bits) { float v; memcpy(&v, &bits, 4); return v; }
static inline double f64_of(uint64_t bits) { double v; memcpy(&v, &bits, 8); return v; }
static inline uint32_t bits_of_f32(float v) { uint32_t bits; memcpy(&bits, &v, 4); return bits; }
static inline uint64_t bits_of_f64(double v) { uint64_t bits; memcpy(&bits, &v, 8); return bits; }
static inline float ftz(float v) { return v != 0 && v < 0x1p-126f && v > -0x1p-126f ? __builtin_copysignf(0, v) : v; }

/* A card does not trap: by nought comes all ones, and the remainder is the dividend. */
#define whole_div(T, a, b) ({ T a_ = (a), b_ = (b); b_ == 0 ? (T)-1 : (T)-1 < 0 && b_ == (T)-1 ? (T)-(uint64_t)a_ : a_ / b_; })
#define whole_rem(T, a, b) ({ T a_ = (a), b_ = (b); b_ == 0 ? a_ : (T)-1 < 0 && b_ == (T)-1 ? 0 : a_ % b_; })
/* Volatile, so that the compiler, which knows of one rounding only, moves nothing in or out; the operands come last. */
#define directed(mode, T, value, ...) ({ volatile T __VA_ARGS__; \
    fesetround(mode); volatile T directed_ = (value); fesetround(FE_TONEAREST); directed_; })
#define absolute(T, a) ({ T a_ = (a); (T)0.5 != 0 ? (T)__builtin_fabs(a_) : (T)(a_ < 0 ? -a_ : a_); })
#define shl(T, a, by) ({ uint32_t by_ = (by); by_ >= 8 * sizeof(T) ? (T)0 : (T)((a) << by_); })
#define shr(T, a, by) ({ T a_ = (a); uint32_t by_ = (by); by_ >= 8 * sizeof(T) ? (T)(a_ < 0 ? -1 : 0) : (T)(a_ >> by_); })
#define clamped(T, x, low, end) ({ double x_ = (x); T least_ = (T)(low), most_ = (T)~(T)0; \
    if ((T)-1 < 0) most_ = (T)~((T)1 << (8 * sizeof(T) - 1)); \
    x_ != x_ ? (T)0 : x_ < (low) ? least_ : x_ >= (end) ? most_ : (T)x_; })

/* A card faults at an address that is not a multiple of the size, or outside its memory. Functions that are called:
   with the checks in place at each of its accesses, a kernel takes three times as long to compile. */
#define WITHIN(at, first, last) ((at) >= (uint64_t)(first) && (at) < (uint64_t)(last))
/* The linker names both ends of a section. */
#define IN_MODULE __attribute__((section("module"), used))
extern char __start_module[] __attribute__((visibility("hidden"))), __stop_module[] __attribute__((visibility("hidden")));
#define CALLED static __attribute__((noinline))
CALLED uint64_t near_of(uint64_t at, unsigned size) {
    if (at % size) machine_fault(at);
    return at;
}
CALLED uint64_t far_of(uint64_t at, unsigned size) {
    if (at % size || !(WITHIN(at, machine_first, machine_last) || WITHIN(at, __start_module, __stop_module)))
        machine_fault(at);
    return at;
}
#define near(T, at) ((T *)near_of(at, sizeof(T)))
#define far(T, at) ((T *)far_of(at, sizeof(T)))
#define near_load(T, at) (*near(T, at))
#define near_store(T, at, value) (*near(T, at) = (value))
#define near_strong(T, at) near(T, at)
#ifdef WEAK
/* What a word holds is known to others, and what they made of it to us, only in the order that PTX promises. */
CALLED uint64_t weak_load(struct thread *t, uint64_t at, unsigned size) {
    return machine_weak_load(t->block, far_of(at, size), size);
}
CALLED void weak_store(struct thread *t, uint64_t at, uint64_t value, unsigned size) {
    machine_weak_store(t->block, far_of(at, size), value, size);
}
CALLED uint64_t weak_strong(struct thread *t, uint64_t at, unsigned size) {
    machine_strong(t->block, far_of(at, size));
    return at;
}
#define far_load(T, at) ({ union { T as; uint64_t bits; } got_; got_.bits = weak_load(t, at, sizeof(T)); got_.as; })
#define far_store(T, at, value) ({ union { T as; uint64_t bits; } given_ = {.bits = 0}; given_.as = (value); \
    weak_store(t, at, given_.bits, sizeof(T)); })
#define far_strong(T, at) ((T *)weak_strong(t, at, sizeof(T)))
#define publish() machine_publish(t->block)
#define renew() machine_renew(t->block)
#else
#define far_load(T, at) (*far(T, at))
#define far_store(T, at, value) (*far(T, at) = (value))
#define far_strong(T, at) far(T, at)
#define publish() ((void)0)
#define renew() ((void)0)
#endif
#define RELEASES(order) ((order) == __ATOMIC_RELEASE || (order) == __ATOMIC_ACQ_REL)
#define ACQUIRES(order) ((order) == __ATOMIC_ACQUIRE || (order) == __ATOMIC_ACQ_REL)
#define BEFORE(order, name) if (RELEASES(order) && machine_orders(name)) publish()
#define AFTER(order, name) if (ACQUIRES(order) && machine_orders(name)) renew()
#define fence(name) ({ if (machine_orders(name)) { publish(); renew(); __atomic_thread_fence(__ATOMIC_SEQ_CST); } })
#define load(T, where, at) where##_load(T, at)
#define store(T, where, at, value) where##_store(T, at, value)
#define load_in_order(T, where, at, order, name) ({ \
    T got_ = __atomic_load_n(where##_strong(T, at), __ATOMIC_##order); AFTER(__ATOMIC_##order, name); got_; })
#define store_in_order(T, where, at, value, order, name) ({ BEFORE(__ATOMIC_##order, name); \
    __atomic_store_n(where##_strong(T, at), value, __ATOMIC_##order); })
#define fetch_add(p, v, order) __atomic_fetch_add(p, v, order)
#define fetch_and(p, v, order) __atomic_fetch_and(p, v, order)
#define fetch_or(p, v, order) __atomic_fetch_or(p, v, order)
#define fetch_xor(p, v, order) __atomic_fetch_xor(p, v, order)
#define fetch_exchange(p, v, order) __atomic_exchange_n(p, v, order)
#define atomic(what, T, where, at, value, order, name) ({ BEFORE(__ATOMIC_##order, name); \
    T was_ = fetch_##what(where##_strong(T, at), value, __ATOMIC_##order); AFTER(__ATOMIC_##order, name); was_; })
#define compare_and_swap(T, where, at, was, value) ({ T was_ = (was); \
    __atomic_compare_exchange_n(where##_strong(T, at), &was_, value, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED); was_; })
#define update(T, where, at, value, formula) ({ T *p_ = where##_strong(T, at), old, new = (value), next_; \
    __atomic_load(p_, &old, __ATOMIC_RELAXED); \
    do next_ = (formula); \
    while (!__atomic_compare_exchange(p_, &old, &next_, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)); old; })

/* Of the device's runtime library: whether the grid was launched as one whose blocks are there together. */
static inline void w_cudaCGGetIntrinsicHandle(struct thread *t, char *returned, char *scope) {
    *(uint64_t *)returned = 1;
}
