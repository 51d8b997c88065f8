//! What a network measures while it trains, the running moments of batch norms: no gradient reaches it, but averaged weights need the
//! average of it.

use super::parameter::share;
use tch::Tensor;
use torch_runtime::lists;

#[derive(Debug)]
pub(super) struct Statistic {
    pub(super) name: String,
    pub(super) tensor: Tensor,
    /// Updates that it was averaged over.
    pub(super) updates: i64,
    pub(super) average: Option<Tensor>,
}

/// Takes what was measured by the forward pass of an update into the averages, as the weights are: a = x at first.
pub(super) fn average(statistics: &mut [Statistic], decay: f64) -> crate::Result<()> {
    let mut moves = Vec::with_capacity(statistics.len());
    for Statistic { tensor, updates, average, .. } in statistics {
        *updates += 1;
        match average {
            Some(average) => moves.push((&*average, &*tensor, share(decay, *updates))),
            average => *average = Some(tensor.detach().copy()),
        }
    }
    Ok(lists::lerp(&moves)?)
}
