set terminal svg size 900,780 font 'sans-serif,13' background rgb 'white'
set output 'chart.svg'
set title 'Time over the limit that memory sets (f32, 2 threads)'
set xlabel 'multiple of the limit; shorter is better' offset 0,0.6
set rmargin 12
set key below center horizontal samplen 2
set logscale x 2
set xrange [0.5:*]
set yrange [21:-1]
set grid xtics lc rgb '#d0d0d0' lt 1
set border 2
set tics nomirror scale 0
set style fill solid noborder
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc rgb '#404040'
set ytics ('infer  nchw 32x256x56x56' 0, 'infer  nchw 32x2048x7x7' 1, 'infer  nhwc 32x512x28x28' 2, 'infer  nhwc 1x64x112x112' 3, 'infer  nc 64x512' 4, 'infer  nc 1024x1024' 5, 'infer  nc 16384x512' 6, 'train  nchw 32x256x56x56' 7, 'train  nchw 32x2048x7x7' 8, 'train  nhwc 32x512x28x28' 9, 'train  nhwc 1x64x112x112' 10, 'train  nc 64x512' 11, 'train  nc 1024x1024' 12, 'train  nc 16384x512' 13, 'backward  nchw 32x256x56x56' 14, 'backward  nchw 32x2048x7x7' 15, 'backward  nhwc 32x512x28x28' 16, 'backward  nhwc 1x64x112x112' 17, 'backward  nc 64x512' 18, 'backward  nc 1024x1024' 19, 'backward  nc 16384x512' 20)
$rows << end_of_rows
0 0.928522 1.38263 "0.93" "1.38 libtorch"
1 1.52351 2.11288 "1.52" "2.11 libtorch"
2 1.00843 1.0654 "1.01" "1.07 oneDNN"
3 1.91346 3.11534 "1.91" "3.12 oneDNN"
4 2.19585 4.86849 "2.20" "4.87 oneDNN*"
5 1.71663 3.07869 "1.72" "3.08 oneDNN*"
6 1.86987 1.46349 "1.87" "1.46 oneDNN*"
7 0.774187 3.13798 "0.77" "3.14 libtorch"
8 3.08443 9.10273 "3.08" "9.10 libtorch"
9 1.32602 1.66124 "1.33" "1.66 oneDNN"
10 1.59978 2.71252 "1.60" "2.71 oneDNN"
11 8.03038 17.2433 "8.03" "17.24 oneDNN*"
12 2.598 2.41593 "2.60" "2.42 oneDNN*"
13 1.23901 1.43676 "1.24" "1.44 libtorch"
14 0.919865 0.942205 "0.92" "0.94 libtorch"
15 4.67268 8.23081 "4.67" "8.23 libtorch"
16 1.25912 1.19055 "1.26" "1.19 libtorch"
17 1.78059 2.58849 "1.78" "2.59 oneDNN"
18 4.04582 5.63735 "4.05" "5.64 oneDNN*"
19 2.64651 2.61522 "2.65" "2.62 oneDNN*"
20 1.15888 1.21873 "1.16" "1.22 libtorch"
end_of_rows
plot $rows using (0.5):($1-0.19):(0.5):2:($1-0.36):($1-0.02) with boxxyerror lc rgb '#0072B2' title 'batchnorm', \
  $rows using (0.5):($1+0.19):(0.5):3:($1+0.02):($1+0.36) with boxxyerror lc rgb '#E69F00' title 'best rival', \
  $rows using 2:($1-0.19):4 with labels left offset 0.4,0 font ',10' notitle, \
  $rows using 3:($1+0.19):5 with labels left offset 0.4,0 font ',10' notitle
