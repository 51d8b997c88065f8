//! Captions token by token: greedy, or by beam search with the rules of Hugging Face's `generate`.

use super::Blip;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// How captions are searched for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// Longest caption in tokens, begin and prompt included.
    pub max_tokens: usize,
    /// Beams; 1 is greedy.
    pub beams: usize,
    /// Beams are compared by log probability / length^penalty; the length counts the tokens after the prompt.
    pub length_penalty: f64,
}

impl Default for Search {
    fn default() -> Self {
        Self { max_tokens: 40, beams: 1, length_penalty: 1.0 }
    }
}

/// The beams of one image.
struct Hypotheses {
    running: Vec<(f64, Vec<i64>)>,
    /// Score with the length's penalty, tokens; at most as many as beams, best first.
    finished: Vec<(f64, Vec<i64>)>,
    done: bool,
}

impl Blip {
    /// Token ids of each image's caption: `start`, what follows and, unless the length ran out, the end token.
    ///
    /// # Shapes
    /// vision: `[batch, patches, hidden]` of [`Blip::vision`].
    ///
    /// # Errors
    /// When `start` is empty, there is no room for a token behind it or no beam, or LibTorch refuses.
    pub fn generate(&self, vision: &Tensor, start: &[i64], search: &Search) -> Result<Vec<Vec<i64>>, Error> {
        let _guard = tch::no_grad_guard();
        let wrong = |field, found: usize, expected: String| {
            Err(Error::Config { field, found: found.to_string(), expected })
        };
        if search.beams == 0 {
            return wrong("beams", 0, "at least 1".to_owned());
        }
        let positions = usize::try_from(self.decoder.positions()).unwrap_or(usize::MAX);
        if start.is_empty() || search.max_tokens <= start.len() || search.max_tokens > positions {
            let expected = format!("more than the {} of begin and prompt, at most {positions}", start.len());
            return wrong("max_tokens", search.max_tokens, expected);
        }
        if search.beams == 1 {
            self.greedy(vision, start, search.max_tokens)
        } else {
            self.beams(vision, start, search)
        }
    }

    fn greedy(&self, vision: &Tensor, start: &[i64], longest: usize) -> Result<Vec<Vec<i64>>, Error> {
        let rows = usize::try_from(vision.size()[0]).unwrap_or(0);
        let mut captions = vec![start.to_vec(); rows];
        let mut cache = self.decoder.begin(vision)?;
        let mut next = self.ids(&captions)?;
        for _ in start.len()..longest {
            let logits = self.decoder.step(&next, &mut cache)?;
            let best = logits.f_select(1, -1)?.f_argmax(-1, false)?;
            let best = Vec::<i64>::try_from(best.f_to_kind(Kind::Int64)?)?;
            let mut fed = Vec::with_capacity(rows);
            for (caption, id) in captions.iter_mut().zip(best) {
                let over = caption.len() > start.len() && caption.last() == Some(&self.end);
                if !over {
                    caption.push(id);
                }
                fed.push(vec![if over { self.pad } else { id }]);
            }
            if fed.iter().all(|id| id[0] == self.pad || id[0] == self.end) {
                break;
            }
            next = self.ids(&fed)?;
        }
        Ok(captions)
    }

    fn beams(&self, vision: &Tensor, start: &[i64], search: &Search) -> Result<Vec<Vec<i64>>, Error> {
        let (beams, images) = (search.beams, usize::try_from(vision.size()[0]).unwrap_or(0));
        // all beams begin alike: only the first counts until they part
        let mut all: Vec<Hypotheses> = (0..images)
            .map(|_| Hypotheses {
                running: (0..beams)
                    .map(|beam| (if beam == 0 { 0.0 } else { -1e9 }, start.to_vec()))
                    .collect(),
                finished: Vec::new(),
                done: false,
            })
            .collect();
        let repeated = vision.f_repeat_interleave_self_int(beams as i64, 0, None)?;
        let mut cache = self.decoder.begin(&repeated)?;
        let mut next = self.ids(&vec![start.to_vec(); images * beams])?;
        for length in start.len()..search.max_tokens {
            let logits = self.decoder.step(&next, &mut cache)?.f_select(1, -1)?;
            let (scores, flat, vocabulary) = self.candidates(&logits, &all, beams)?;
            let mut rows = Vec::with_capacity(images * beams);
            let mut fed = Vec::with_capacity(images * beams);
            for (image, hypotheses) in all.iter_mut().enumerate() {
                let taken = image * 2 * beams..(image + 1) * 2 * beams;
                let candidates = scores[taken.clone()].iter().zip(&flat[taken]).map(|(score, flat)| {
                    let (beam, id) = (flat / vocabulary, flat % vocabulary);
                    (*score, usize::try_from(beam).unwrap_or(0), id)
                });
                let last = length + 1 == search.max_tokens;
                let parents = hypotheses.advance(candidates.collect(), self.end, last, start.len(), search);
                rows.extend(parents.iter().map(|parent| (image * beams + parent) as i64));
                fed.extend(hypotheses.running.iter().map(|(_, ids)| vec![ids[ids.len() - 1]]));
            }
            if all.iter().all(|hypotheses| hypotheses.done) {
                break;
            }
            cache.reorder(&rows)?;
            next = self.ids(&fed)?;
        }
        Ok(all
            .into_iter()
            .map(|mut hypotheses| {
                let best = if hypotheses.finished.is_empty() {
                    &mut hypotheses.running
                } else {
                    &mut hypotheses.finished
                };
                best.swap_remove(0).1
            })
            .collect())
    }

    /// The best `2 · beams` continuations of each image, best first: scores and beam · vocabulary + id.
    fn candidates(
        &self,
        logits: &Tensor,
        all: &[Hypotheses],
        beams: usize,
    ) -> Result<(Vec<f64>, Vec<i64>, i64), Error> {
        let (_, vocabulary) = logits.size2()?;
        let so_far: Vec<f32> =
            all.iter().flat_map(|h| h.running.iter().map(|(score, _)| *score as f32)).collect();
        let so_far = Tensor::f_from_slice(&so_far)?.f_to_device(self.device)?.f_unsqueeze(-1)?;
        let scores = logits.f_log_softmax(-1, Kind::Float)?.f_add(&so_far)?;
        let scores = scores.f_reshape([all.len() as i64, beams as i64 * vocabulary])?;
        let (best, flat) = scores.f_topk(2 * beams as i64, -1, true, true)?;
        let best = Vec::<f64>::try_from(best.f_flatten(0, 1)?.f_to_kind(Kind::Double)?)?;
        Ok((best, Vec::<i64>::try_from(flat.f_flatten(0, 1)?)?, vocabulary))
    }

    fn ids(&self, rows: &[Vec<i64>]) -> Result<Tensor, Error> {
        let shape = [rows.len() as i64, rows.first().map_or(0, Vec::len) as i64];
        Ok(Tensor::f_from_slice(&rows.concat())?.f_reshape(shape)?.f_to_device(self.device)?)
    }
}

impl Hypotheses {
    /// Takes the best continuations (score, beam, id), best first, and returns the beam that each new one continues.
    fn advance(
        &mut self,
        candidates: Vec<(f64, usize, i64)>,
        end: i64,
        last: bool,
        prompt: usize,
        search: &Search,
    ) -> Vec<usize> {
        if self.done {
            return (0..search.beams).collect();
        }
        let length = self.running[0].1.len() + 1 - prompt;
        let normaliser = (length as f64).powf(search.length_penalty);
        let mut running = Vec::with_capacity(search.beams);
        let mut parents = Vec::with_capacity(search.beams);
        for (rank, (score, beam, id)) in candidates.into_iter().enumerate() {
            let mut ids = self.running[beam].1.clone();
            ids.push(id);
            if id == end || last {
                // what ends beyond the first `beams` ranks was kept only as a reserve
                if rank < search.beams {
                    self.finished.push((score / normaliser, ids));
                }
            } else if running.len() < search.beams {
                running.push((score, ids));
                parents.push(beam);
            }
        }
        self.finished.sort_by(|a, b| b.0.total_cmp(&a.0));
        self.finished.truncate(search.beams);
        if last {
            self.done = true;
            return parents;
        }
        let reachable = running[0].0 / normaliser;
        let full = self.finished.len() == search.beams;
        self.done = full && self.finished.last().is_some_and(|(worst, _)| reachable <= *worst);
        self.running = running;
        parents
    }
}
