/* The C interface of Lanner's native engine: encoders in int8, fp32 and bf16 over packed tokens.
 *
 * Nothing here knows Python or ONNX. A caller describes an encoder (ln_config), hands over its
 * tensors by name (README.md lists names and shapes) and runs packed sequences. Functions return a
 * status and write one sentence to the caller's error buffer; they never throw and keep no global
 * state besides the self-tests' results. */
#ifndef LANNER_NATIVE_H
#define LANNER_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define LN_API
#else
#define LN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Grows with each change of a struct below; ln_load refuses another version. */
#define LN_VERSION 3

typedef enum {
  LN_OK = 0,
  LN_INVALID_MODEL = 1,   /* the description and the tensors do not fit together */
  LN_INVALID_INPUT = 2,   /* the batch cannot be run: an id beyond its table, lengths that do not add up */
  LN_NOT_AVAILABLE = 3,   /* the instruction set is unknown, missing here, or failed its self-test */
  LN_OUT_OF_MEMORY = 4,
  LN_INTERNAL_ERROR = 5   /* a fault of this library or of the system, such as no thread to be had */
} ln_status;

typedef enum { LN_F32 = 0, LN_S8 = 1 } ln_dtype;

typedef enum {
  LN_ACTIVATION_NONE = 0,
  LN_ACTIVATION_GELU_ERF = 1,  /* x * Phi(x): "gelu" */
  LN_ACTIVATION_GELU_TANH = 2, /* "gelu_new", "gelu_pytorch_tanh" */
  LN_ACTIVATION_RELU = 3,
  LN_ACTIVATION_SILU = 4,
  LN_ACTIVATION_TANH = 5
} ln_activation;

typedef enum {
  LN_NORM_LAYER = 0,
  LN_NORM_RMS = 1 /* not centred: x / root of the mean square */
} ln_norm;

typedef enum {
  LN_POST_NORM = 0, /* BERT: x = norm(x + part(x)) */
  LN_PRE_NORM = 1   /* x = x + part(norm(x)), and a norm after the last layer */
} ln_norm_place;

typedef enum {
  LN_POSITIONS_NONE = 0,
  LN_POSITIONS_ABSOLUTE = 1 /* a learned row a position */
} ln_positions;

/* The bytes that a product of int8 weights reads. */
typedef enum {
  LN_SCALES_STATIC = 0,   /* one scale and zero point a tensor, given as "<product>.input" */
  LN_SCALES_PER_TOKEN = 1 /* one scale and zero point a token, measured as it is computed */
} ln_scales;

typedef enum {
  LN_POOLING_NONE = 0, /* a row of output for each token */
  LN_POOLING_CLS = 1,  /* the first token of each sequence */
  LN_POOLING_MEAN = 2, /* the mean of all tokens of each sequence */
  LN_POOLING_MAX = 3
} ln_pooling;

enum { LN_MAX_DENSE = 8 };

/* An encoder as BERT has it:
 *   x = norm(word[id] + type + position); x = projection(x) where there is one;
 *   layer: x = norm(x + output(attention(x))); x = norm(x + output(activation(intermediate(x))))
 * or with norms before the parts of a layer:
 *   layer: x = x + output(attention(norm(x))); x = x + output(activation(intermediate(norm(x))))
 *   x = norm(x) after the last;
 * and then pooling, Dense layers in order, and division by the L2 norm.
 * Set all bytes to zero first, then `version`. */
typedef struct {
  uint32_t version; /* LN_VERSION */
  uint32_t layers;
  uint32_t layer_groups; /* layers with weights of their own: layer i uses group i * groups / layers.
                            0 means `layers`; ALBERT has 1 */
  uint32_t hidden_size;
  uint32_t embedding_size; /* width of the tables; 0 means hidden_size. If it differs, or the tensor
                              "embeddings.projection.weight" is there, the projection follows the norm */
  uint32_t intermediate_size;
  uint32_t heads;
  uint32_t head_size;
  uint32_t key_value_heads; /* heads share keys and values, each the same number; 0 means heads */
  float attention_scale; /* what scores are multiplied by; 0 means 1 / sqrt(head_size) */
  float norm_epsilon;
  uint32_t norm;         /* ln_norm */
  uint32_t norm_place;   /* ln_norm_place */
  uint32_t activation;   /* ln_activation of the intermediate product */
  uint32_t gated;        /* 1: activation(intermediate(x)) * up(x) in place of the activation alone */
  uint32_t positions;    /* ln_positions */
  uint32_t position_offset; /* the row of the first token: 0, and 2 for RoBERTa */
  int32_t padding_id;       /* RoBERTa counts positions over other ids only, and this id takes the
                               row before the first; -1: every token counts */
  uint32_t relative_buckets; /* MPNet: 32 buckets of distances, "attention.relative_bias"; 0: none */
  uint32_t relative_max_distance; /* MPNet: 128 */
  uint32_t rotary_tables; /* tables of angles, "rotary.k.cosine" and "rotary.k.sine"; 0: none */
  uint32_t rotary_pairs;  /* angles of a position; each turns a pair of values of queries and keys */
  uint32_t rotary_neighbours; /* 1: pair i is of the values 2i and 2i + 1 of a head; 0: i and pairs + i */
  uint32_t max_tokens;       /* the longest sequence that ln_run takes */
  uint32_t scales;           /* ln_scales of all products with int8 weights */
  uint32_t bf16; /* 1: F32 weights of the encoder's products, and the rows that they multiply, are
                    rounded to bfloat16; sums, and all else, stay in fp32. Dense layers are as given */
  uint32_t pooling;          /* ln_pooling */
  uint32_t dense_layers;     /* at most LN_MAX_DENSE; applied to each pooled row, or to each token */
  uint32_t dense_before_pooling; /* the first so many of them are applied to each token, and then
                                    pooled (EuroBERT's classifier) */
  uint32_t dense_activation[LN_MAX_DENSE]; /* ln_activation */
  uint32_t normalize;        /* 1: divide each row of output by its L2 norm */
  const char* instruction_set; /* a name from ln_instruction_set_get; NULL takes the fastest, and for
                                  bf16 none but one whose processor multiplies it */
} ln_config;

/* A named tensor, row-major and contiguous; `shape` has 1 or 2 entries that count. The data of
 * "embeddings.word.weight" is read in place until ln_free; everything else is copied by ln_load. */
typedef struct {
  const char* name;
  uint32_t dtype; /* ln_dtype */
  uint32_t rank;
  uint64_t shape[2];
  const void* data;
} ln_tensor;

typedef struct ln_model ln_model;

/* Load an encoder. A tensor that is missing, unknown, of another shape, or not finite is an error.
 * `error` may be NULL; else it receives at most error_size bytes with the closing 0. */
LN_API ln_status ln_load(const ln_config* config, const ln_tensor* tensors, size_t tensor_count,
                         ln_model** model, char* error, size_t error_size);

/* Free a model; NULL does nothing. No ln_run of it may be under way. */
LN_API void ln_free(ln_model* model);

/* Packed sequences: sequence i has tokens [starts[i], starts[i + 1]); starts[0] is 0 and
 * starts[sequences] is `tokens`; none is empty. */
typedef struct {
  const int32_t* ids;      /* [tokens] */
  const int32_t* type_ids; /* [tokens], or NULL for all 0 */
  const int32_t* starts;   /* [sequences + 1] */
  size_t tokens;
  size_t sequences;
} ln_batch;

/* Run packed sequences into `output`, rows x ln_output_size floats: a row a token where pooling is
 * NONE, else a row a sequence. Any number of threads may call this for one model at once.
 * `threads` is the most that this call uses, the caller's own included; 0 is read as 1.
 * The answer of a sequence depends on nothing but the sequence: not on the batch, the threads, or
 * the instruction set. */
LN_API ln_status ln_run(ln_model* model, const ln_batch* batch, uint32_t threads, float* output,
                        size_t output_floats, char* error, size_t error_size);

LN_API uint32_t ln_output_size(const ln_model* model);       /* floats a row of output */
LN_API const char* ln_model_instruction_set(const ln_model* model); /* the name of the one in use */

typedef struct {
  const char* name;  /* "amx_int8", "avx512_vnni", "avx_vnni", "avx2", "plain" */
  int32_t compiled;  /* this library has it */
  int32_t supported; /* this processor and system have it */
  int32_t passed;    /* its self-test agrees with the plain one, bit for bit */
  int32_t bf16_supported; /* this processor and system multiply bf16, and this set has kernels for it */
  int32_t bf16_passed;    /* and they agree with the plain ones, bit for bit */
} ln_instruction_set;

/* The instruction sets, fastest first. Index 0 .. ln_instruction_set_count() - 1; the first call
 * runs the self-tests (milliseconds). */
LN_API size_t ln_instruction_set_count(void);
LN_API ln_status ln_instruction_set_get(size_t index, ln_instruction_set* out);

#ifdef __cplusplus
}
#endif
#endif
